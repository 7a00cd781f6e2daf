#!/bin/sh
# Classifies a picture of a digit with three networks and a quantised one: what `make demo` shows. APUS is the program to run.
#
#   Examples/demo.sh [PICTURE.png]
set -eu
if [ $# -gt 0 ]; then picture=$(realpath "$1"); else picture=images/digit_7_64.png; fi
apus=${APUS:-apus}
case $apus in
    */*) apus=$(realpath "$apus") ;;
esac
cd "$(dirname "$0")"

classify() {
    echo "$2 says:"
    "$apus" run "models/digits_$1.onnx" --input "$picture" --top 3 --labels models/digits_labels.txt
    echo
}

echo
echo "Small networks, trained on 1,347 hand-written digits, look at $picture."
echo "This is what they see of it, 8 x 8 pixels, and what the first of them, a convolutional network, says:"
echo
"$apus" run models/digits_cnn.onnx --input "$picture" --top 3 --labels models/digits_labels.txt --show
echo
classify lstm "An LSTM that reads it row by row"
classify transformer "A transformer for which each row is a token"
classify cnn_int8 "The convolutional network in 8-bit integers"
echo "Another digit:               APUS=.build/release/apus-cli Examples/demo.sh Examples/images/digit_4.png"
echo "What a model is made of:     .build/release/apus-cli inspect Examples/models/digits_cnn.onnx"
echo "How fast it is:              .build/release/apus-cli bench Examples/models/digits_cnn.onnx"
