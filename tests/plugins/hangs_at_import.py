import time

from hostile_optimizers import Plain


class Never(Plain):
    pass


while True:
    time.sleep(0.05)
