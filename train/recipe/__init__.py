"""Training recipes: tables, rules across fields, reading."""
