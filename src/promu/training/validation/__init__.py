"""How well pre-training goes, measured on pairs, regions and the teacher's labels held out."""
