"""What the commands of ``analysis`` make of records: tables, figures, a page, a sweep of tuned settings, the gate."""
