"""The servers that the app is measured against."""
