"""What a run says: once for all of its processes, or by each that alone knows something.

Of the numpy side too, which knows of no other processes: who joins them says so here, once.
"""

_index, _count = 0, 1


def set_process(index: int, count: int) -> None:
    """Which process of how many this one is; by itself it is the only one."""
    global _index, _count
    _index, _count = index, count


def tell(text: str) -> None:
    """Prints what all processes know, in one of them."""
    if _index == 0:
        print(text, flush=True)


def tell_here(text: str) -> None:
    """Prints what this process alone knows, and, where there are several, which one it is."""
    print(f"process {_index}: {text}" if _count > 1 else text, flush=True)
