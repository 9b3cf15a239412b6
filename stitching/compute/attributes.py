"""Names of the attributes of faces that the paper reports (arXiv 2407.13449)."""

MALE, HEAVY_MAKEUP, NO_BEARD, SMILING = "Male", "Heavy_Makeup", "No_Beard", "Smiling"

#: All ten, in the paper's order. Drawn faces have the same.
PAPER = (
    "Bald", "Blond_Hair", "Wavy_Hair", SMILING, "Eyeglasses", HEAVY_MAKEUP, MALE, NO_BEARD,
    "Pale_Skin", "Young",
)  # fmt: skip

#: Those that go with gender: `Male` itself and the two whose correlation with it is beyond 0.5 in
#: CelebA's annotation (first 10,000 images: Heavy_Makeup -0.67, No_Beard -0.52; next are
#: Wavy_Hair with -0.32 and Blond_Hair with -0.31).
GENDER = (MALE, HEAVY_MAKEUP, NO_BEARD)
