"""What a prediction gives its user. numpy only."""
