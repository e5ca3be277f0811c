"""From the files of a data set to batches: sources, records, batches. numpy only."""
