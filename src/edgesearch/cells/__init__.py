"""Layer 2: the recurrent cells, their specification, the classifier and the files of the reference project."""
