"""What imports and exports of weights share: readers and writers of each modality, and the card."""
