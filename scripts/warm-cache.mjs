// Compiles the library and its clients once into NODE_COMPILE_CACHE, which the processes that tests start then read: they start many
// hundred times, and most of them are killed before they could write it themselves.

await Promise.all([
  import('../src/index.ts'),
  import('../src/discovery/index.ts'),
  import('../src/gateway/index.ts'),
  import('../src/testing/index.ts'),
  ...['eventstoredb', 'memory', 'nats', 'postgres', 'rabbitmq', 'sqlite'].map((name) => import(`../src/adapters/${name}/index.ts`)),
  ...['@eventstore/db-client', 'amqplib', 'nats', 'pg', 'pino'].map((name) => import(name)),
])
