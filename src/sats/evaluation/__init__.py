"""From predictions to scores: the confusion matrix and every figure made of it."""
