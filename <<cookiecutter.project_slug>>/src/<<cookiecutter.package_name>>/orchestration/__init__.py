"""All that talks to Prefect and Saturn Cloud."""
