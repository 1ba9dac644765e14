"""The default data source, UCI's incident event log.

Delete this folder once data.py reads your own rows: nothing else imports it.
"""
