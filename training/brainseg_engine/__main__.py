"""``python -m brainseg_engine`` is ``napari-brainseg``."""

from brainseg_engine.cli import main

if __name__ == "__main__":
    main()
