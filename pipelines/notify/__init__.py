"""Breach events -> notices: the text (message.py, pure) and the way out (mail.py)."""
