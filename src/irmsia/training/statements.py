"""What only the maker of the starter can say about it, by item of the CLAIM checklist (`irmsia.bundles.claim`)."""

STATEMENTS = {
    "4": "To show the whole chain from a file to a calibrated answer that may refuse, on public data. No hypothesis.",
    "5": "Retrospective: published collections.",
    "6": "Feasibility. Nothing is claimed for care.",
    "7": "Three public collections: children's chest X-rays (Mendeley Data 10.17632/rscbjbr9sj.2), brain MRI slices "
    "(10.34740/kaggle/dsv/2645886), breast ultrasound (BUSI, Data in Brief 28, 104863); phantoms made by the project.",
    "8": "Every image of the class folders of the subset at hand; lesion masks are no images. Training stops at a "
    "copy of a sealed image under another group.",
    "10": "Chest and brain: a part of each collection, made smaller in pixels. Breast: no part.",
    "11": "By the publishers. File names hold numbers of patients, no names.",
    "12": "Every image has a label. Age, sex and spacing are unknown: the files are PNG and JPEG.",
    "13": "Chest: one hospital, children aged 1 to 5. Brain: several sources and sequences, not told by image. Breast: "
    "one hospital. Devices and parameters are not published with the images.",
    "14": "The collection's class folder.",
    "15": "No other reference is published with the images.",
    "16": "As published; not read again for this project.",
    "17": "As for the rest: the collection's label.",
    "18": "Not published with the images, not measured.",
    "19": "Grouped and stratified 70 / 15 / 15 by one seed, fixed before the first experiment; the test part is sealed "
    "by digests.",
    "21": "No calculation: all that was at hand. The intervals show how far it reaches.",
    "25": "docs/starter.md and the committed recipe; `make starter` runs it.",
    "26": "The average of the weights with the least validation loss. Ideas were compared on the validation part only.",
    "27": "None.",
    "30": "Not part of this card; the project's commands probe foreign images and shortcuts.",
    "31": "Contribution maps: each logit is exactly a sum over a grid of places; the map shows the terms of that sum.",
    "36": "Chest: children aged 1 to 5. Otherwise not published with the images.",
    "39": "`irmsia evaluate --out DIR` names every image that was answered wrong; nobody has read them.",
    "42": "The project's specification and docs/starter.md; not registered.",
    "43": "Software: MIT. Weights: in the package. Data: from their publishers, under their licences.",
    "44": "None stated.",
}
