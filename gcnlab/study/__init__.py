"""What is concluded: configs, runs, records, tables, claims, figures and the report."""
