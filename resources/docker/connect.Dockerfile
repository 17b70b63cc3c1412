# Kafka Connect with Debezium and, by ENABLE_APICURIO_CONVERTERS, the Avro converter.
FROM quay.io/debezium/connect:2.7.3.Final
