echo leaving with 7
exit 7
