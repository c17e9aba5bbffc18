"""What a record looks like to a person: tables for the terminal, one page for everybody else. Never torch."""
