"""Scores of predictions beside a truth. numpy only."""
