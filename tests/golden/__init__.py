"""Golden cases: numbers that the authors' released code produces, and the project's modules must reproduce."""
