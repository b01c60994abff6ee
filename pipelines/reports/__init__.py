"""What people and scripts are shown of the store: status, export, the page of a facility. No terminal here."""
