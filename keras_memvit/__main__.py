"""`python -m keras_memvit`: the command `keras-memvit`."""

from keras_memvit.cli import main

if __name__ == "__main__":
    main()
