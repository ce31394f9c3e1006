"""Where job records live: one Protocol, S3 and a directory behind it; and the listing and reading of users' files."""
