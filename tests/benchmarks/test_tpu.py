"""The benchmark of a TPU's compiler: what it reads of a text, written by hand, and its messages."""

from importlib.metadata import PackageNotFoundError

import pytest

from benchmarks.hlo_collectives import Collective, collectives_of
from benchmarks.tpu import chips
from benchmarks.tpu.__main__ import main
from benchmarks.tpu.estimate import Assumed, Loop, Worst, estimate
from benchmarks.tpu.hlo import module_of


def _cycles(number: int, name: str = "", frame: int = 0) -> str:
    metadata = f'metadata={{op_name="{name}" stack_frame_id={frame}}}'
    return f'{metadata}, backend_config={{"window_config":{{"estimated_cycles":"{number}"}}}}'


# As the compiler writes them, with less in each line. `outer` calls `inner`, and that `loop`.
TEXT = f"""HloModule jit_f, is_scheduled=true

FileNames
1 "a.py"

FunctionNames
1 "outer"
2 "inner.<locals>.loop"

FileLocations
1 {{file_name_id=1 function_name_id=1 line=1 end_line=1 column=1 end_column=2}}
2 {{file_name_id=1 function_name_id=2 line=2 end_line=2 column=1 end_column=2}}

StackFrames
1 {{file_location_id=1 parent_frame_id=1}}
2 {{file_location_id=2 parent_frame_id=2}}

%fused (x: f32[8]) -> f32[8] {{
  %x = f32[8]{{0:T(8)}} parameter(0)
  ROOT %never_run = f32[8]{{0:T(8)}} add(%x, %x), {_cycles(10**9)}
}}

%seven (t: (s32[], f32[8])) -> pred[] {{
  %seven.1 = s32[]{{:T(128)}} constant(7)
  %t = (s32[]{{:T(128)}}, f32[8]{{0:T(8)}}) parameter(0)
  %i = s32[]{{:T(128)}} get-tuple-element(%t), index=0
  ROOT %lt = pred[]{{:T(512)}} compare(%i, %seven.1), direction=LT, {_cycles(2)}
}}

%data (u: (s32[], s32[])) -> pred[] {{
  %u = (s32[]{{:T(128)}}, s32[]{{:T(128)}}) parameter(0)
  %j = s32[]{{:T(128)}} get-tuple-element(%u), index=0
  %n = s32[]{{:T(128)}} get-tuple-element(%u), index=1
  ROOT %lt.1 = pred[]{{:T(512)}} compare(%j, %n), direction=LT
}}

%body (b: (s32[], f32[8])) -> (s32[], f32[8]) {{
  %b = (s32[]{{:T(128)}}, /*index=1*/f32[8]{{0:T(8)}}) parameter(0)
  %sorted = f32[8]{{0:T(8)}} sort(%b), dimensions={{0}}, to_apply=%fused
  ROOT %copy = (s32[]{{:T(128)}}, f32[8]{{0:T(8)}}) copy(%b), {_cycles(10, "jit(f)/while/body/copy")}
}}

%cheap (c: f32[8]) -> f32[8] {{
  ROOT %c.1 = f32[8]{{0:T(8)}} copy(%c), {_cycles(5)}
}}

%dear (d: f32[8]) -> f32[8] {{
  ROOT %d.1 = f32[8]{{0:T(8)}} copy(%d), {_cycles(50)}
}}

ENTRY %main (x: f32[8], n: s32[]) -> f32[8] {{
  %x = f32[8]{{0:T(8)}} parameter(0)
  %fusion = f32[8]{{0:T(8)}} fusion(%x), kind=kLoop, calls=%fused, {_cycles(100, "jit(f)/add")}
  %while = (s32[], f32[8]) while(%x), condition=%seven, body=%body, metadata={{op_name="jit(f)/a"}}
  %while.1 = (s32[], s32[]) while(%x), condition=%data, body=%body, metadata={{op_name="jit(f)/b" stack_frame_id=2}}
  ROOT %cond = f32[8]{{0:T(8)}} conditional(%n, %x, %x), branch_computations={{%cheap, %dear}}, metadata={{op_name="c" stack_frame_id=1}}
}}
"""  # noqa: E501
THREE = Assumed(("inner.<locals>.loop", "outer"), 3, "three are usual")


def test_a_loop_counts_as_often_as_it_turns_and_of_a_choice_the_dearest() -> None:
    found = estimate(TEXT, (THREE,))
    # The condition of the first loop costs 2, its body 10.
    assert found.cycles == 100 + 7 * (10 + 2) + 3 * 10 + 50
    assert found.loops == (
        Loop("a", times=1, rounds=7, why="counts to it", cycles=12),
        Loop("b", times=1, rounds=3, why="three are usual", cycles=10),
    )
    assert found.worst[:2] == (
        Worst(100, 1, "fusion f32[8]", "add"),
        Worst(70, 7, "copy (s32[], f32[8])", "while/body/copy"),
    )  # fmt: skip
    # The sort of both loops, and the comparison of the second.
    assert found.unestimated == {"sort": 2, "compare": 1}


def test_a_choice_that_is_assumed_not_to_be_entered_costs_its_cheapest_branch() -> None:
    never = Assumed(("outer",), 0, "never")
    assert estimate(TEXT, (THREE, never)).cycles == 100 + 7 * 12 + 3 * 10 + 5


def test_a_loop_of_which_nothing_is_known_is_told() -> None:
    with pytest.raises(
        ValueError, match=r"loop at b turns; it comes from inner.<locals>.loop, outer"
    ):
        estimate(TEXT)


def test_a_text_without_an_entry_is_told() -> None:
    with pytest.raises(ValueError, match="it is no optimised HLO"):
        module_of("module @jit_f {}")


def test_an_operation_knows_the_functions_it_comes_from_the_innermost_first() -> None:
    loop = module_of(TEXT).computations["main"]["while.1"]
    assert loop.functions == ("inner.<locals>.loop", "outer")
    assert loop.called == {"condition": "data", "body": "body"}


def test_a_collective_that_a_tpu_writes_in_several_parts_is_counted_once() -> None:
    text = """
%fused_computation.2 (p: f32[2,128]) -> f32[16,128] {
  %g = f32[16,128]{1,0:T(8,128)} all-gather(%p), channel_id=2, dimensions={0}
}
%async_collective_fusion.4 (q: f32[2,128]) -> f32[16,128] {
  %h = f32[16,128]{1,0:T(8,128)S(1)} all-gather(%q), channel_id=2, dimensions={0}
}
ENTRY %main (a: f32[4]) -> f32[4] {
  %r = (f32[4]{0:T(128)}, f32[]{:T(128)}) all-reduce(%a, %b), channel_id=1
  %o = f32[] all-reduce(%n), channel_id=1
  %s = (f32[2,8]{1,0}, f32[2,8]{1,0}, u32[], u32[]) collective-permute-start(%c), channel_id=3
}
"""
    assert collectives_of(text) == [
        Collective("all-gather", ("f32[16,128]",), 8192),
        Collective("collective-permute", ("f32[2,8]",), 64),
        Collective("all-reduce", ("f32[4]", "f32[]"), 20),
        Collective("all-reduce", ("f32[]",), 4),
    ]


def test_without_libtpu_it_is_said_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(chips, "version", missing)
    with pytest.raises(SystemExit):
        main(["--stages"])
    assert "pip install --no-deps --target DIR 'libtpu==" in capsys.readouterr().err


def test_a_baseline_that_is_not_there_is_told_before_anything_is_compiled(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        main(["--baseline", "nowhere"])
    assert "--baseline nowhere is not a file" in capsys.readouterr().err
