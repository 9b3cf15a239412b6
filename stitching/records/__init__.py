"""Records of what this project wrote, kept beside the files themselves."""
