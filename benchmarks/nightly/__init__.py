"""What unattended nights cost: a second night, orchestration, engines."""
