"""The programs this runs in, behind one protocol."""
