"""What a picture shows, in words: a file a tagger; the folder is the registry."""
