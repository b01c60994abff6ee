"""Who may come in: secrets as files, a private certificate authority, and the credentials of the devices."""
