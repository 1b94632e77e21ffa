// Does one step with basic-ftp: basic_ftp.cjs STEP VERB ADDRESS USER PASSWORD LIBRARY.
// The library is passive only; PORT and EPRT get what it does by itself.
"use strict";

const [step, verb, host, user, password, library] = process.argv.slice(2);
const { Client, enterPassiveModeIPv4, enterPassiveModeIPv6 } = require(library);
// The names that steps.py gives.
const named = "dir with space/Grüße ☃.bin";
const uploaded = "dir with space/hin über.bin";

async function main() {
    const client = new Client(15000);
    if (verb === "PASV") client.prepareTransfer = enterPassiveModeIPv4;
    if (verb === "EPSV") client.prepareTransfer = enterPassiveModeIPv6;
    await client.access({ host, user, password, secure: false });
    const steps = {
        LIST: async () => {
            client.availableListCommands = ["LIST"];
            for (const entry of await client.list()) console.log(entry.name);
        },
        RETR: () => client.downloadTo("got", "small"),
        STOR: () => client.uploadFrom("source", "stored"),
        APPE: () => client.appendFrom("tail", "appended"),
        REST: () => client.downloadTo("got", "small", require("fs").statSync("got").size),
        MLSD: async () => {
            client.availableListCommands = ["MLSD"];
            for (const entry of await client.list()) console.log(entry.name);
        },
        NAME: async () => {
            await client.downloadTo("got", named);
            await client.uploadFrom("source", uploaded);
        },
        EMPTY: async () => {
            await client.downloadTo("got", "empty");
            await client.uploadFrom("nothing", "stored-empty");
        },
        BIG: () => client.downloadTo("got", "big"),
    };
    await steps[step]();
    client.close();
}

main().catch((error) => {
    console.error(String(error));
    process.exit(1);
});
