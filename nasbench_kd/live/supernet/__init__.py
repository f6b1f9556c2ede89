"""Weight sharing: networks that hold the weights of every operation of every edge at once."""
