#!/bin/sh
# mosquitto_sub | psql COPY: 2,000 messages a COPY, under one client id whose session the broker keeps in between.
# PORT TOPIC DSN. Says "ready" when the session is there; runs until it is killed. What mosquitto_sub has acknowledged
# but not printed when it has its 2,000 is lost: it is the price of the pattern.
set -eu
port=$1 topic=$2 dsn=$3
subscribe="mosquitto_sub -p $port -t $topic -q 1 -c -i copy-$$"
$subscribe -E
echo ready
while :; do
  $subscribe -C 2000 -F '%t	%p' | psql --no-psqlrc --quiet --command="COPY raw (topic, payload) FROM STDIN" "$dsn"
done
