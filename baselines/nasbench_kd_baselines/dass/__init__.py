"""DaSS: students in the order that a trained predictor gives them for the teacher."""
