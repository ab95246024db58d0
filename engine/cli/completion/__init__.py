"""Shell completion: what may stand where the cursor is, and the scripts that have bash, zsh and fish ask for it.

The scripts know nothing of our commands. At every Tab they run `netpy __complete WORD...` with the words up to the
cursor, the last of them unfinished, and get a line of directives (`files`, `nospace`, or `-`) and then a line for every
candidate: the word, a tab, its description. `wanted` decides what is sought, from the command tree alone; `naming`
turns that into words, and asks the daemon for names.
"""
