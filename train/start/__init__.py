"""Starting points of a run, and changes to a trained tokenizer before the next one."""
