"""One file a question: does it sound like the target, are the notes right, is it the instrument?"""
