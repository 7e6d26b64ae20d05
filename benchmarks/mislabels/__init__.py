"""Does the search for wrong labels find them, and more of them than its rivals?"""
