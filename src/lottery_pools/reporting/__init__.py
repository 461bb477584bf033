"""From result rows to tables, figures and pages; never imports torch."""
