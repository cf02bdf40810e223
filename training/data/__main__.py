"""``python -m training.data``: show what a recipe's data gives, without training."""

from training.data.command import main

if __name__ == "__main__":
    raise SystemExit(main())
