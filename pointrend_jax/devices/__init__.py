"""What is known of the machine: processes, placement of arrays, compiled programs, backends."""
