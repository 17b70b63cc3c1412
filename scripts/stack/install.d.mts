export function kafkaJars(): Promise<string>
export function installedKafka(): string | null
