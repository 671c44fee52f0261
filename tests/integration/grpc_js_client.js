// A client in JavaScript with a certificate: unary calls, streams of the server's, Io.
// Arguments: address, CA, key and certificate ("" for none), and folders of protos.
'use strict';

const assert = require('node:assert');
const fs = require('node:fs');
const grpc = require('@grpc/grpc-js');
const loader = require('@grpc/proto-loader');

const [address, ca, key, cert, ...includeDirs] = process.argv.slice(2);
const PATIENCE_MS = 120_000;
const SIZE = 1 << 20;

const file = (path) => (path ? fs.readFileSync(path) : null);
const credentials = grpc.credentials.createSsl(file(ca), file(key), file(cert));
const {v1} = grpc.loadPackageDefinition(loader.loadSync(
    ['ramvol/v1/volume_service.proto', 'ramvol/v1/block_service.proto'],
    {includeDirs, longs: Number, keepCase: true, defaults: true})).ramvol;
const volumes = new v1.VolumeService(address, credentials);
const blocks = new v1.BlockService(address, credentials);
const soon = () => ({deadline: Date.now() + PATIENCE_MS});

const ask = (stub, method, request) => new Promise((resolve, reject) => {
  stub[method](request, soon(),
               (error, answer) => (error ? reject(error) : resolve(answer)));
});

async function all(stream) {
  const messages = [];
  for await (const message of stream) messages.push(message);
  return messages;
}

async function main() {
  await ask(volumes, 'CreateVolume', {name: 'js', size_bytes: SIZE});
  const data = Buffer.from('hello');
  await ask(blocks, 'Write', {volume: 'js', offset: 4096, data});
  const {data: read} =
      await ask(blocks, 'Read', {volume: 'js', offset: 4096, length: 5});
  assert.deepStrictEqual(read, data);

  const events = (await all(volumes.WatchEvents({}, soon()))).flatMap((m) => m.events);
  assert.ok(events.some((event) => event.volume === 'js'));
  const image = Buffer.concat(
      (await all(blocks.Save({volume: 'js'}, soon()))).map((m) => m.data));
  assert.strictEqual(image.toString('latin1', 0, 4), 'QFI\xfb');

  const io = blocks.Io(soon());
  io.write({volume: 'js'});
  io.write({operations: [
    {id: 1, write: {offset: 8192, data}},
    {id: 2, read: {offset: 4096, length: 5}},
  ]});
  io.end();
  const [{opened}, ...rest] = await all(io);
  assert.strictEqual(opened.size_bytes, SIZE);
  const results = rest.flatMap((message) => message.results);
  assert.deepStrictEqual(results.map((result) => result.id).sort(), [1, 2]);
  assert.deepStrictEqual(results.find((result) => result.id === 2).data, data);
  await ask(volumes, 'DeleteVolume', {name: 'js'});
  console.log('grpc-js: all as expected');
}

main().then(() => process.exit(0), (error) => {
  console.error(error);
  process.exit(1);
});
