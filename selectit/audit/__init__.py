"""What is done with finished work: verified, compared, packed for others, and freed."""
