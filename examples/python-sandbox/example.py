import pandas

frame = pandas.DataFrame({"kind": ["a", "b", "a"], "n": [1, 2, 3]})
print(frame.groupby("kind").n.sum().to_dict())
