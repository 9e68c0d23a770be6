"""What the program can do, a function a capability; `lorabench.cli` puts words around it."""
