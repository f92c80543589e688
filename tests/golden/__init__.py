"""Golden cases: numbers of the authors' released code that the project's modules must reproduce."""
