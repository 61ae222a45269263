"""Music and pictures that belong together (report 004): labels, music, pictures and the folder that holds both."""
