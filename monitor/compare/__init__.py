"""Networks side by side: trained and judged on the same rows with the same seeds.

    subject = read_subject([Path("flows.csv")], spec, "Label", ["BENIGN"])
    comparison = compare(subject, ["dense", "pca"], seeds=3, options=FitOptions())
    print(*comparison.advice(), sep="\\n")

Every network learns from the same normal rows and is judged on the same others: a test file, or,
without one, a quarter of the normal rows that none of them sees, and the attacks of the same files.
Labels reach no network; they count what was found, and so they decide what is advised.
"""
