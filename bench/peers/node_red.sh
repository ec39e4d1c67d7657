#!/bin/sh
# Node-RED: an "mqtt in" node at QoS 1, a "json" node, and a function node that INSERTs by a pool of node-postgres.
# PORT TOPIC DSN FOLDER; `node-red` is on the PATH and the package `pg` is installed beside it. Says "ready" when
# connected to the broker; runs until it is killed. Messages are acknowledged on arrival.
set -eu
port=$1 topic=$2 dsn=$3 folder=$4
beside=$(dirname "$(readlink -f "$(command -v node-red)")")
pg=$(node -p 'require.resolve("pg", {paths: [process.argv[1]]})' "$beside")

cat > "$folder/settings.js" <<END
const { Pool } = require("$pg");
module.exports = {
  httpAdminRoot: false, httpNodeRoot: false, uiHost: "127.0.0.1", uiPort: 0, credentialSecret: "bench",
  editorTheme: { projects: { enabled: false } }, logging: { console: { level: "info" } },
  functionGlobalContext: { pool: new Pool({ connectionString: "$dsn", max: 4 }) },
};
END

cat > "$folder/flows.json" <<END
[
  { "id": "flow", "type": "tab", "label": "bench" },
  { "id": "broker", "type": "mqtt-broker", "broker": "127.0.0.1", "port": "$port", "clientid": "node-red-$$",
    "protocolVersion": "5", "keepalive": "60", "cleansession": true, "autoConnect": true },
  { "id": "in", "z": "flow", "type": "mqtt in", "topic": "$topic", "qos": "1", "datatype": "json", "broker": "broker",
    "nl": false, "rap": true, "rh": 0, "inputs": 0, "wires": [["insert"]] },
  { "id": "insert", "z": "flow", "type": "function", "outputs": 0, "wires": [],
    "func": "const device = msg.topic.split('/')[3]; const pool = global.get('pool'); const said = msg.payload; for (const [metric, value] of Object.entries(said.readings)) { await pool.query({ name: 'insert', text: 'INSERT INTO readings (time, device, metric, value) VALUES (\$1, \$2, \$3, \$4) ON CONFLICT DO NOTHING', values: [said.time, device, metric, value] }); }" }
]
END

node-red --userDir "$folder" --settings "$folder/settings.js" "$folder/flows.json" 2>&1 | while read -r line; do
  case $line in
    *"Connected to broker"*) echo ready ;;
    *rror*) echo "$line" >&2 ;;
  esac
done
