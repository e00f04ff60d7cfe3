"""What happens to a deployment while it is under load, told scenario by scenario."""


def none(_conductor):
    """Nothing: the load alone."""
